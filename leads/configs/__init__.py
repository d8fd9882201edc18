"""The Hydra configurations that the command line composes."""
