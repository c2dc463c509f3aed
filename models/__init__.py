"""Networks, and the Lightning module that trains them. Knows neither Hydra nor MLflow."""
