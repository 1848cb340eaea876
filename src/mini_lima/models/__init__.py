"""A language model, its tokenizer, and how an instruction becomes its tokens."""
