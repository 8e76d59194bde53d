"""Who may do what: tokens and their rights. Knows the file, not who asks, nor what is asked for."""
