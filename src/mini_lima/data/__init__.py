"""The data methods: seed tasks and a teacher in, instruction examples with their lineage out."""
