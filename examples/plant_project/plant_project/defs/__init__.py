"""Assets of the plant, and the PI system as a component."""
