"""What only one of two containers of the same image has, or has otherwise."""
