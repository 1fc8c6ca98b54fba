package dev.spiq.classify

import kotlin.math.roundToInt

/** Real value = (integer - zeroPoint) * scale, of a uint8 tensor. */
class Quantization(private val scale: Float, private val zeroPoint: Int) {

    fun quantized(value: Float): Byte = ((value / scale).roundToInt() + zeroPoint).coerceIn(0, 255).toByte()

    fun real(integer: Byte): Float = ((integer.toInt() and 0xFF) - zeroPoint) * scale

    /** The integers of all 256 pixel values, for each of the three channels. */
    fun pixels(metadata: Metadata): List<ByteArray> = List(3) { channel ->
        val place = if (metadata.mean.size == 1) 0 else channel
        ByteArray(256) { quantized((it - metadata.mean[place]) / metadata.std[place]) }
    }
}
