"""`make demo`: the main job on photographs that dependencies ship, typed as a user would type it."""
