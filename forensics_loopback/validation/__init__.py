"""What is refused: names, schemas and their CEL rules, checks and defaults of built-in kinds."""
