#!version:1.0.0.1
include:config "y000000000007.cfg"
include:config "00156513f07f.cfg"
overwrite_mode = 0
