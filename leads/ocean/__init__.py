"""Ocean circulation: forecasting currents and temperature from partial observations."""
