"""The SerDes link between dies: parameters, physical coding of the lanes, channel, link layer."""
