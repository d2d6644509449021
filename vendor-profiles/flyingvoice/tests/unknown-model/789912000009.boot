#!version:1.0.0.1
## The header above must appear as-is in the first line

include:config "789912000009.cfg"
