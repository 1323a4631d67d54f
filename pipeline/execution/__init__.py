"""The adapter to Ray: start, resources, actors, data flow."""
