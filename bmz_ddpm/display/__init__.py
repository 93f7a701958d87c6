"""How images become pictures: ranges, colours, scale bars, and the preview of a result."""
