"""What is trained on: captioned recordings, and labelled sounds with sentences composed about them."""
