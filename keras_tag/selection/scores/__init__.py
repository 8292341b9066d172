"""Group scores, in closed form and measured."""
