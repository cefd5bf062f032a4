"""Tasks put to workers: in this process, in processes of this machine, on a Ray cluster; their journals."""
