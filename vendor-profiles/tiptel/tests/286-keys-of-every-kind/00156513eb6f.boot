#!version:1.0.0.1
include:config "y000000000000.cfg"
include:config "00156513eb6f.cfg"
overwrite_mode = 0
