"""The descriptors that server reflection serves."""

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool


def pool_of(services: Iterable[str]) -> DescriptorPool:
    """Pool the files of these services, and what they import, with the ``json_name`` of each field.

    protoc leaves the names out of Python modules. grpcurl doesn't work them out by itself: it
    would print ``correlation_id`` where the JSON mapping has ``correlationId``.
    """
    pool = DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            _name_fields(message, file.message_types_by_name[message.name])
        pool.Add(proto)

    for service in services:
        add(Default().FindFileContainingSymbol(service))
    return pool


def _name_fields(proto: DescriptorProto, message: Descriptor) -> None:
    for field in proto.field:
        field.json_name = message.fields_by_name[field.name].json_name
    for nested in proto.nested_type:
        _name_fields(nested, message.nested_types_by_name[nested.name])
