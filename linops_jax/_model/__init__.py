"""What a class statement says: fields, shapes, hooks and what they mean to each other, properties."""
