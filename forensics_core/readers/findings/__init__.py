"""What an analyst would look at first: rules over what a bundle holds, and what they found."""
