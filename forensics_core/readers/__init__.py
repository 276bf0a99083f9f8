"""What analysts do with a bundle: one package for each question that it answers."""
