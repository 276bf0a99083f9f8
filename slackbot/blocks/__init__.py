"""What messages, forms and the home look like. Pure: data in, blocks out."""
