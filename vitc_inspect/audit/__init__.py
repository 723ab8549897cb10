"""Find faults of a module that leave every shape correct, by running it again."""
