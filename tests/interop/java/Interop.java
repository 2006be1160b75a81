import io.cloudevents.CloudEvent;
import io.cloudevents.core.message.Encoding;
import io.cloudevents.core.provider.EventFormatProvider;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.CloudEventDeserializer;
import io.cloudevents.kafka.CloudEventSerializer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * The CloudEvents SDK for Java on Kafka's own client.
 *
 * <p>{@code publish SERVERS} takes lines of mode, topic, key and event, with tabs between; {@code read SERVERS TOPIC
 * SOURCE} writes lines of what the SDK makes of the events that name the source.
 */
class Interop {
    private static final Duration WAIT_MAX = Duration.ofSeconds(30); // a broker on this machine answers at once

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "publish" -> publish(words[1]);
            case "read" -> read(words[1], words[2], words[3]);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    private static void publish(String servers) throws Exception {
        Map<String, KafkaProducer<String, CloudEvent>> producers = new HashMap<>();
        for (Encoding mode : Encoding.values()) {
            CloudEventSerializer serializer = new CloudEventSerializer();
            Map<String, Object> options = new HashMap<>();
            options.put(CloudEventSerializer.ENCODING_CONFIG, mode);
            options.put(CloudEventSerializer.EVENT_FORMAT_CONFIG, JsonFormat.CONTENT_TYPE);
            serializer.configure(options, false);
            Map<String, Object> producer = Map.of("bootstrap.servers", servers, "compression.type", "zstd");
            producers.put(mode.name(), new KafkaProducer<>(producer, new StringSerializer(), serializer));
        }
        List<Future<?>> sent = new ArrayList<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split("\t", 4);
            CloudEvent event = EventFormatProvider.getInstance()
                    .resolveFormat(JsonFormat.CONTENT_TYPE)
                    .deserialize(parts[3].getBytes(StandardCharsets.UTF_8));
            sent.add(producers.get(parts[0]).send(new ProducerRecord<>(parts[1], parts[2], event)));
        }
        for (Future<?> acknowledged : sent) {
            acknowledged.get();
        }
        producers.values().forEach(KafkaProducer::close);
    }

    private static void read(String servers, String topic, String source) {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        Map<String, Object> options = Map.of("bootstrap.servers", servers, "isolation.level", "read_committed");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        CloudEventDeserializer events = new CloudEventDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(options, bytes, bytes)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic, WAIT_MAX).stream()
                    .map(one -> new TopicPartition(topic, one.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions, WAIT_MAX);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    // Others publish what is no event at all.
                    String value = record.value() == null ? "" : new String(record.value(), StandardCharsets.UTF_8);
                    if (!value.contains("\"" + source + "\"")) {
                        continue;
                    }
                    CloudEvent event = events.deserialize(topic, record.headers(), record.value());
                    byte[] data = event.getData() == null ? new byte[0] : event.getData().toBytes();
                    out.println(String.join(
                            "\t",
                            event.getSource().toString(),
                            event.getType(),
                            event.getId(),
                            String.valueOf(event.getSubject()),
                            String.valueOf(event.getTime().toInstant()),
                            String.valueOf(event.getExtension("tenant")),
                            new String(data, StandardCharsets.UTF_8)));
                }
            }
        }
    }
}
