"""What a class statement defines: fields, shapes, hooks and the relations between them, and properties."""
