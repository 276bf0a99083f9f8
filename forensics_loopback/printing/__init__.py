"""Objects as answers: tables, metadata alone, lists."""
