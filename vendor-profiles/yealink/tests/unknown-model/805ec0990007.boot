#!version:1.0.0.1
include:config "805ec0990007.cfg"
overwrite_mode = 0
