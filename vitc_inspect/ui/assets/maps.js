// The wall of maps: which map the pointer is on, one map large, its values.
