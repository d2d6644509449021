#!version:1.0.0.1
include:config "y000000000096.cfg"
include:config "805e0c540001.cfg"
overwrite_mode = 0
