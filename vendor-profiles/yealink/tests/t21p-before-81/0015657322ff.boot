#!version:1.0.0.1
include:config "y000000000034.cfg"
include:config "0015657322ff.cfg"
overwrite_mode = 0
