"""Other libraries' algorithms and data sets, with leads' models and episodes."""
