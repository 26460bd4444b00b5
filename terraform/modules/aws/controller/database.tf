# PostgreSQL for several controllers: over two zones, encrypted, spoken to over TLS by them alone. RDS makes the password, keeps it in
# Secrets Manager and changes it each week: it is in nobody's hands, and not in Terraform's state.

resource "aws_db_subnet_group" "this" {
  count = var.database == null ? 0 : 1

  name_prefix = "${var.name}-"
  description = "Database of the Picket controllers"
  subnet_ids  = values(var.database.subnet_ids)
  tags        = local.tags
}

resource "aws_db_parameter_group" "this" {
  count = var.database == null ? 0 : 1

  name_prefix = "${var.name}-"
  description = "Database of the Picket controllers"
  family      = "postgres${var.database.version}"
  tags        = local.tags

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Who changed the schema; nothing of what hosts report.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "this" {
  # checkov:skip=CKV_AWS_161:controllers come by password over TLS, as with any PostgreSQL
  # checkov:skip=CKV_AWS_118:what the database does to the mesh is an alarm of the controllers; metrics of its host are the operator's choice
  # checkov:skip=CKV_AWS_353:a few rows a second; nobody tunes its queries
  # checkov:skip=CKV2_AWS_30:statements of data say who a host is
  # checkov:skip=CKV_AWS_157:over two zones unless the operator says otherwise
  # checkov:skip=CKV_AWS_293:protected unless the operator says otherwise
  count = var.database == null ? 0 : 1

  identifier_prefix               = "${var.name}-"
  engine                          = "postgres"
  engine_version                  = var.database.version
  instance_class                  = var.database.instance_class
  allocated_storage               = var.database.storage_gib
  max_allocated_storage           = var.database.storage_gib * 5
  storage_type                    = "gp3"
  storage_encrypted               = true
  kms_key_id                      = var.kms_key_arn
  multi_az                        = var.database.multi_az
  db_name                         = "picket"
  username                        = "picket"
  manage_master_user_password     = true
  master_user_secret_kms_key_id   = var.kms_key_arn
  db_subnet_group_name            = aws_db_subnet_group.this[0].name
  parameter_group_name            = aws_db_parameter_group.this[0].name
  vpc_security_group_ids          = [aws_security_group.database[0].id]
  publicly_accessible             = false
  backup_retention_period         = var.database.backup_days
  copy_tags_to_snapshot           = true
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  deletion_protection             = var.deletion_protection
  skip_final_snapshot             = !var.deletion_protection
  final_snapshot_identifier       = "${var.name}-database-last"
  tags                            = local.tags
}

resource "aws_cloudwatch_metric_alarm" "database" {
  for_each = var.database == null ? {} : {
    # A fifth of what was asked for at the start, though it grows by itself.
    storage     = { metric = "FreeStorageSpace", below = var.database.storage_gib * 1073741824 / 5, above = null, says = "is nearly full" }
    connections = { metric = "DatabaseConnections", below = null, above = 60, says = "has more connections than its controllers open, ten each" }
  }

  alarm_name          = "${var.name}-database-${each.key}"
  alarm_description   = "The controllers' database ${each.value.says}"
  namespace           = "AWS/RDS"
  metric_name         = each.value.metric
  dimensions          = { DBInstanceIdentifier = aws_db_instance.this[0].identifier }
  statistic           = each.value.below == null ? "Maximum" : "Minimum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = each.value.below == null ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = coalesce(each.value.below, each.value.above)
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}
