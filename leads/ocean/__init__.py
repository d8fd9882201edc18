"""Ocean forecasts: altimetry and sea-surface temperature as environments, and the way back to maps."""
