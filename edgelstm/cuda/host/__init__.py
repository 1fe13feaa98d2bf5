"""What the host does for a device: sessions, streams, pools, launches that lie ready and recorded graphs."""
