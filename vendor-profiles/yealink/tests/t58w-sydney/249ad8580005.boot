#!version:1.0.0.1
include:config "y000000000150.cfg"
include:config "249ad8580005.cfg"
overwrite_mode = 0
