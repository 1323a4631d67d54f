"""The adapter to Ray: starting it, resources, devices, actors, data flow."""
