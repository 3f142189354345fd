"""Parameters and the functions of them, and running statistics of what goes in."""
