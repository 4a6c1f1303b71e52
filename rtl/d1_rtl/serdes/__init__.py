"""The SerDes link in RTL: link layer, physical coding of the lanes."""
