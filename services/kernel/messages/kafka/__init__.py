"""The second form of the transport: topics of Kafka (docs/KAFKA_MIGRATION_GUIDE.md says when, and how to get there).

::

    msg.stream                one partition for each of ours; a record's value is the envelope
    msg.dlq                   the dead letters, compacted: a letter that went back is followed by a record without a value
    group persistence-workers one committed offset for each partition: everything below it is settled. Its metadata say who
                              owns the partition, what he may have in hand above it and what of that is settled (`standing`)
    group msg-copier          the last entry of Redis that was copied into each partition, while both are in use

Promises: what an owner asks for is one transaction of his producer, whose name is the partition's; the next owner's producer
takes the name and Kafka refuses the earlier one. Kafka keeps no memory of messages by their ids, so that stays in Redis.
"""
