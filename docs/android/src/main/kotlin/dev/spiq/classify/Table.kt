package dev.spiq.classify

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** A table of a FlatBuffer; fields are named by their place in the schema, and null or empty where absent. */
class Table private constructor(private val bytes: ByteBuffer, private val start: Int) {

    fun table(field: Int): Table? = place(field)?.let { Table(bytes, target(it)) }

    fun tables(field: Int): List<Table> = elements(field).map { Table(bytes, target(it)) }

    fun floats(field: Int): FloatArray = elements(field).map { bytes.getFloat(it) }.toFloatArray()

    fun int(field: Int): Int = place(field)?.let { bytes.getInt(it) } ?: 0

    fun byte(field: Int): Int = place(field)?.let { bytes.get(it).toInt() and 0xFF } ?: 0

    /** A vector of bytes or a string. */
    fun bytes(field: Int): ByteArray {
        val vector = place(field)?.let { target(it) } ?: return ByteArray(0)
        return ByteArray(bytes.getInt(vector)) { bytes.get(vector + 4 + it) }
    }

    private fun place(field: Int): Int? {
        val places = start - bytes.getInt(start)
        val entry = 4 + 2 * field
        if (entry >= unsigned(places)) return null
        val offset = unsigned(places + entry)
        return if (offset == 0) null else start + offset
    }

    private fun elements(field: Int): List<Int> {
        val vector = place(field)?.let { target(it) } ?: return emptyList()
        return List(bytes.getInt(vector)) { vector + 4 + 4 * it }
    }

    private fun target(place: Int): Int = place + bytes.getInt(place)

    private fun unsigned(place: Int): Int = bytes.getShort(place).toInt() and 0xFFFF

    companion object {
        fun root(content: ByteArray): Table {
            val bytes = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
            return Table(bytes, bytes.getInt(0))
        }
    }
}
