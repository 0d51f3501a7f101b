"""How data clients read: what they select, where they are in it, and how it is answered."""
