#!version:1.0.0.1
include:config "y000000000028.cfg"
include:config "0015654aa937.cfg"
overwrite_mode = 0
