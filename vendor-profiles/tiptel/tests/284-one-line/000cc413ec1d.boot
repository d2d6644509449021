#!version:1.0.0.1
include:config "y000000000004.cfg"
include:config "000cc413ec1d.cfg"
overwrite_mode = 0
