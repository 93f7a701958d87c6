"""Will a package run in Fiji, ilastik, bioimageio.core, QuPath and the zoo?"""
