"""Fuzz targets: functions of bytes that raise nothing but what the package promises."""
