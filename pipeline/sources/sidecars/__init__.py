"""Labels and sidecar files that lie beside images."""
