"""How the models that come with aac were made; nobody needs these to use them."""
