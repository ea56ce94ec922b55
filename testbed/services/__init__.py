"""What of our own runs on the emulated nodes: players, steering, and the agents of the OCAs."""
