"""Write the sampler in other programs' formats, and compare each with eager."""
