#!version:1.0.0.1
include:config "y000000000052.cfg"
include:config "0015654c4c26.cfg"
overwrite_mode = 0
