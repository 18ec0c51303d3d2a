"""Settings of how a node is found."""

from pydantic import Field

from hearth.sections import Section


class MdnsSettings(Section):
    """Settings of how the node is found."""

    enabled: bool = Field(True, description="announce the node by mDNS")
    advertise_ip: str | None = Field(
        None, description="the one IPv4 address to announce; unset: the default route's"
    )
    type: str = Field("_homenative-node._tcp.local.", description="the first service type")
    name: str | None = Field(None, description="the instance name; unset: from host and uuid")
    uuid: str | None = Field(None, description="unset: made once and kept in the data folder")
    status: str | None = Field(None, description="a fixed TXT status; unset: the node's own")
    version: str | None = Field(None, description="the TXT version; unset: hearth's own")
