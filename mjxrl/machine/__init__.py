"""What this computer has, and settings that must be made before jax or torch load."""
